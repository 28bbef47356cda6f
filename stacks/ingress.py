"""IngressStack: the load balancer, its listeners, its certificate, its firewall and its logs."""

from __future__ import annotations

from datetime import date

from aws_cdk import CfnOutput, Duration, RemovalPolicy, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from settings import HostPorts, IngressSettings, LogSettings
from stacks.constructs.alerts import alarm
from stacks.constructs.logs import Logs
from stacks.constructs.web_firewall import WebFirewall
from stacks.findings import accept, accept_cdk_functions

UNTIL = date(2027, 11, 30)


class IngressStack(Stack):
    """One balancer for every service; what no service's rule matches gets a 404."""

    load_balancer: elbv2.ApplicationLoadBalancer
    listener: elbv2.ApplicationListener
    security_group: ec2.SecurityGroup

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: IngressSettings,
        logs: LogSettings,
        retain_data: bool,
        deletion_protection: bool,
        bridge_ports: HostPorts | None,
        vpc: ec2.IVpc,
        instances: ec2.ISecurityGroup,
        topic: sns.ITopic,
    ) -> None:
        super().__init__(scope, construct_id, description="Drydock: the load balancer")
        self.security_group = self._make_security_group(settings, vpc)
        if bridge_ports:
            self._open_host_ports(instances, bridge_ports)
        self.load_balancer = elbv2.ApplicationLoadBalancer(
            self,
            "LoadBalancer",
            vpc=vpc,
            internet_facing=True,
            security_group=self.security_group,
            deletion_protection=deletion_protection,
            drop_invalid_header_fields=True,
            desync_mitigation_mode=elbv2.DesyncMitigationMode.STRICTEST,
            idle_timeout=Duration.seconds(settings.idle_timeout_seconds),
        )
        self.load_balancer.log_access_logs(self._make_bucket(logs, retain_data))
        self.listener = self._make_listener(settings)
        if settings.waf:
            # WAF takes only log groups whose names begin like this.
            # Source: https://docs.aws.amazon.com/waf/latest/APIReference/API_LoggingConfiguration.html
            log_group = Logs(self, "Logs", settings=logs, retain=retain_data).group(
                "Firewall", name=f"aws-waf-logs-{self.stack_name.lower()}"
            )
            WebFirewall(
                self,
                "Firewall",
                load_balancer_arn=self.load_balancer.load_balancer_arn,
                log_group=log_group,
            )
        alarm(
            self,
            "BalancerErrors",
            metric=self.load_balancer.metrics.http_code_elb(
                elbv2.HttpCodeElb.ELB_5XX_COUNT, period=Duration.minutes(1)
            ),
            above=10,
            minutes=3,
            topic=topic,
            says="The balancer itself answered 5xx more than 10 times a minute for 3 minutes.",
        )
        accept_cdk_functions(self)
        scheme = "https" if settings.https else "http"
        host = (
            settings.domain.name if settings.domain else self.load_balancer.load_balancer_dns_name
        )
        CfnOutput(self, "Url", value=f"{scheme}://{host}")

    def _make_security_group(self, settings: IngressSettings, vpc: ec2.IVpc) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=vpc,
            allow_all_outbound=False,
            description="Load balancer: in from the allowed ranges, out to the targets",
        )
        for cidr in settings.allowed_cidrs:
            for port in (80, 443) if settings.https else (80,):
                group.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(port))
        accept(
            group,
            "AwsSolutions-EC23",
            "CKV_AWS_260",
            reason="A public service is reached by everybody. ingress.allowed_cidrs narrows it.",
            until=UNTIL,
        )
        return group

    def _open_host_ports(self, instances: ec2.ISecurityGroup, ports: HostPorts) -> None:
        # Behind a capacity provider CDK opens nothing between balancer and instances (aws-cdk
        # #14764), and joining the groups would open 32768-65535. In this stack, which depends on
        # the instances', and once: every service in bridge mode comes through the same range.
        ec2.CfnSecurityGroupIngress(
            self,
            "InstancesFromBalancer",
            group_id=instances.security_group_id,
            source_security_group_id=self.security_group.security_group_id,
            ip_protocol="tcp",
            from_port=ports.first,
            to_port=ports.last,
            description="Balancer to tasks in bridge mode",
        )
        ec2.CfnSecurityGroupEgress(
            self,
            "BalancerToInstances",
            group_id=self.security_group.security_group_id,
            destination_security_group_id=instances.security_group_id,
            ip_protocol="tcp",
            from_port=ports.first,
            to_port=ports.last,
            description="Balancer to tasks in bridge mode",
        )

    def _make_bucket(self, logs: LogSettings, retain_data: bool) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            "AccessLogs",
            # The balancer can write under S3's own key only.
            # Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(logs.retention_days))],
            removal_policy=RemovalPolicy.RETAIN if retain_data else RemovalPolicy.DESTROY,
            auto_delete_objects=not retain_data,
        )
        accept(
            bucket,
            "AwsSolutions-S1",
            "CKV_AWS_18",
            "CKV_AWS_21",
            reason="This is the log bucket: nothing in it is overwritten, and its lifecycle ends "
            "every object. A log of its readers would need a bucket of its own; "
            "CloudTrail's data events record them where that is wanted.",
            until=UNTIL,
        )
        return bucket

    def _make_listener(self, settings: IngressSettings) -> elbv2.ApplicationListener:
        nothing_here = elbv2.ListenerAction.fixed_response(
            404, content_type="application/json", message_body='{"error": "no such path"}'
        )
        if not settings.https:
            listener = self.load_balancer.add_listener(
                "Http", port=80, open=False, default_action=nothing_here
            )
            accept(
                listener,
                "CKV_AWS_2",
                "CKV_AWS_103",
                reason="HTTPS needs a certificate, and a certificate a domain, which a sandbox "
                "need not have; with ingress.domain set this listener only redirects.",
                until=UNTIL,
            )
            return listener
        self.load_balancer.add_redirect(open=False)
        return self.load_balancer.add_listener(
            "Https",
            port=443,
            open=False,
            certificates=[self._certificate(settings)],
            ssl_policy=elbv2.SslPolicy.TLS13_12_RES_PQ,
            default_action=nothing_here,
        )

    def _certificate(self, settings: IngressSettings) -> acm.ICertificate:
        """Give the certificate that the settings name, or make the domain's and its record."""
        certificate = (
            acm.Certificate.from_certificate_arn(self, "Certificate", settings.certificate_arn)
            if settings.certificate_arn
            else None
        )
        if settings.domain:
            zone = route53.HostedZone.from_hosted_zone_attributes(
                self,
                "Zone",
                hosted_zone_id=settings.domain.hosted_zone_id,
                zone_name=settings.domain.hosted_zone_name,
            )
            target = targets.LoadBalancerTarget(self.load_balancer)
            route53.ARecord(
                self,
                "Address",
                zone=zone,
                record_name=settings.domain.name,
                target=route53.RecordTarget.from_alias(target),
            )
            certificate = certificate or acm.Certificate(
                self,
                "Certificate",
                domain_name=settings.domain.name,
                validation=acm.CertificateValidation.from_dns(zone),
            )
        if certificate is None:
            raise ValueError("HTTPS needs ingress.certificate_arn or ingress.domain")
        return certificate
